"""``tomolearn node``: a DICOM node that reconstructs what it receives, and sends it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tomolearn.cli import batch_options
from tomolearn.cli.method_options import method_command
from tomolearn.cli.output import echo, log_file


@method_command
def node(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Where images, results and what is to do lie."),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any that is free.")
    ] = 11112,
    aet: Annotated[str, typer.Option(help="Title of this application entity.")] = "TOMOLEARN",
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen at; 0.0.0.0: all. Who reaches it can store images, and nothing "
            "is encrypted."
        ),
    ] = "127.0.0.1",
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="AET", help="Title that may send to us. Default: all."),
    ] = None,
    send_to: Annotated[
        str | None,
        typer.Option(metavar="AET@HOST:PORT", help="To whom results are sent. Default: nobody."),
    ] = None,
    quiet_period: Annotated[
        float,
        typer.Option(help="Seconds without a new image after which a series is complete."),
    ] = 10.0,
    scan: batch_options.Scan = "fan",
    views: batch_options.Views = None,
    photons: batch_options.Photons = None,
    electronic_std: batch_options.ElectronicStd = 0.0,
    seed: batch_options.Seed = 0,
    kev: batch_options.Kev = None,
    method: batch_options.Method = "fbp",
    image_domain: batch_options.ImageDomain = False,
    resample: batch_options.Resample = False,
    workers: batch_options.Workers = None,
    deidentify: batch_options.Deidentify = None,
    log: batch_options.Log = None,
    **settings: Any,
) -> None:
    """Receive CT series over the network, reconstruct each that is complete, and send the result.

    Images are acknowledged when they are on the disk. A series is complete when nothing has come
    for a while and its sender has hung up; images that come later make it anew. What cannot be
    reconstructed or sent is tried again, after longer and longer pauses; what was left to do when
    the node was stopped or killed is done by the same command.
    """
    if workers != 0:
        from tomolearn.batch.forkserver import prepare_workers

        prepare_workers()
    from tomolearn.batch import Node
    from tomolearn.dicom import Deidentification, Peer

    chosen = batch_options.batch_settings(
        scan=scan,
        views=views,
        photons=photons,
        electronic_std=electronic_std,
        seed=seed,
        kev=kev,
        method=method,
        image_domain=image_domain,
        resample=resample,
        **settings,
    )
    target = None if send_to is None else Peer.parse("--send-to", send_to)
    key = None if deidentify is None else Deidentification.from_file(deidentify)
    with batch_options.stoppable(), log_file(log) as logged:

        def tell(line: str) -> None:
            logged(line)
            echo(line, err=True)

        with Node(
            folder,
            chosen,
            aet=aet,
            port=port,
            host=host,
            accept=accept or (),
            target=target,
            quiet_period=quiet_period,
            workers=workers,
            deidentification=key,
            tell=tell,
        ) as running:
            running.run()
