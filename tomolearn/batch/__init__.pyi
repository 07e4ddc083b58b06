from .dask_executor import Certificates as Certificates
from .execution import THUMBNAILS as THUMBNAILS
from .executors import Executor as Executor, InProcessExecutor as InProcessExecutor
from .image_errors import ImageErrors as ImageErrors, measure_errors as measure_errors
from .ledger import Ledger as Ledger, read_ledger as read_ledger
from .node import Node as Node
from .planning import derived_series as derived_series
from .report import BatchReport as BatchReport, Progress as Progress
from .result_names import DEFAULT_TEMPLATE as DEFAULT_TEMPLATE, ResultNames as ResultNames
from .run import (
    LEDGER as LEDGER,
    SUMMARY as SUMMARY,
    check_batch as check_batch,
    check_patients as check_patients,
    run_batch as run_batch,
)
from .settings import BatchSettings as BatchSettings, batch_method as batch_method
