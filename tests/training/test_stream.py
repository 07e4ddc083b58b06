"""The order of the training pairs."""

from itertools import islice

import pytest

from tomolearn.training.stream import StreamBatches


def taken(n, *args, **options):
    return list(islice(StreamBatches(*args, **options), n))


@pytest.mark.parametrize("size", [None, 7])
def test_a_resumed_stream_continues(size):
    whole = taken(12, 3, size=size, seed=4)
    assert taken(7, 3, size=size, seed=4, first_step=5) == whole[5:]


@pytest.mark.parametrize("size", [None, 7])
def test_processes_share_the_batches_of_one(size):
    alone = taken(6, 4, size=size, seed=4)
    parts = [taken(6, 2, size=size, seed=4, rank=rank, world_size=2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == alone


def test_endless_stream_counts():
    assert taken(3, 2) == [[0, 1], [2, 3], [4, 5]]


def test_every_round_takes_each_pair_once_in_another_order():
    numbers = [k for batch in taken(10, 3, size=10, seed=1) for k in batch]
    rounds = [numbers[:10], numbers[10:20], numbers[20:]]
    assert all(sorted(order) == list(range(10)) for order in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    assert rounds[0] != taken(10, 1, size=10, seed=2)
