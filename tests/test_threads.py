import os
import subprocess
import sys

import numpy as np
import pytest

from delineate import algebra
from delineate.masks import Masks
from delineate.threads import get_num_threads, set_num_threads


@pytest.fixture(autouse=True)
def _restore():
    yield
    set_num_threads(None)


def test_all_cpus_of_the_process_by_default():
    set_num_threads(None)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert get_num_threads() == cpus


def test_a_number_may_be_chosen():
    set_num_threads(3)
    assert get_num_threads() == 3
    set_num_threads(np.int64(1))
    assert get_num_threads() == 1


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_numbers_that_make_no_sense(count):
    with pytest.raises(ValueError, match=f"count must be within 1 to 1024 threads or None, got {count}"):
        set_num_threads(count)
    with pytest.raises(TypeError):
        set_num_threads(1.5)


def run(value, code="from delineate.threads import get_num_threads; print(get_num_threads())"):
    environment = os.environ | {"DELINEATE_NUM_THREADS": value}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_the_environment_chooses():
    assert run("2").stdout == "2\n"
    assert int(run("").stdout) >= 1


@pytest.mark.parametrize("value", ["0", "two", "-1", "1e3", "4096"])
def test_the_environment_is_read_strictly(value):
    found = run(value, "import delineate.masks")
    assert found.returncode != 0
    assert f"DELINEATE_NUM_THREADS must be a whole number from 1 to 1024, got '{value}'" in found.stderr


SHORT_OF_THREADS = """
import resource
import numpy as np
from delineate.masks import Masks
from delineate.threads import set_num_threads
masks = Masks.from_dense(np.eye(1000, dtype=bool)[:, None])
set_num_threads(1)
expected = masks.iou(masks)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (256 << 20),) * 2)
set_num_threads(1024)
assert (masks.iou(masks) == expected).all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are read and set as on Linux")
def test_fewer_threads_where_the_system_gives_no_more():
    """Stacks of a thousand threads do not fit into the memory that is left."""
    found = run("", SHORT_OF_THREADS)
    assert (found.returncode, found.stderr) == (0, "")


def results(dense, shapes):
    masks = Masks.from_dense(dense)
    columns = np.asfortranarray(dense.transpose(1, 2, 0)).transpose(2, 0, 1)
    out = np.ones(dense.shape, bool)
    drawn = Masks.from_polygons(shapes, masks.size)
    return [
        masks,
        Masks.from_dense(columns),
        Masks.from_dense(masks.to_dense(out)),
        drawn,
        drawn.union(),
        algebra.boundary_band(drawn, 2),
        drawn.iou(drawn).tolist(),
        drawn.boxes.tolist(),
        [[ring.tolist() for ring in rings] for rings in drawn.to_polygons()],
    ]


def test_results_do_not_depend_on_threads():
    rng = np.random.default_rng(5)
    dense = np.stack([rng.random((240, 320)) < share for share in rng.random(40)])
    shapes = [[(rng.random((30, 2)) * (320, 240)).ravel().tolist()] for _ in range(600)]
    set_num_threads(1)
    alone = results(dense, shapes)
    assert alone[0] == alone[1] == alone[2]
    for count in (2, 5):
        set_num_threads(count)
        assert results(dense, shapes) == alone
