"""Threads, forks, spawned workers, and the end of the process."""

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import medsegx
import numpy as np
import pytest
from conftest import AFFINE, BOX, pattern


def labels_of(model, array):
    return model.segment(array, affine=AFFINE, boxes=BOX, task="CT_Liver").labels


def test_eight_threads_share_a_model(model):
    arrays = [pattern((24, 20, 6), seed=seed) for seed in range(8)]
    expected = [labels_of(model, array) for array in arrays]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda array: labels_of(model, array), arrays * 2))
    for one, other in zip(found, expected * 2):
        assert np.array_equal(one, other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_is_told(model, small):
    session = model.session()
    session.set_slice(small[:, :, 3].T, task="CT_Liver")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # whatever happens, the parent goes on

        def tried(call):
            try:
                call()
                return "no error"
            except RuntimeError as error:
                return str(error)
            except BaseException as error:
                return repr(error)

        texts = [tried(lambda: labels_of(model, small)), tried(lambda: session.prompt([5, 4, 18, 15])), tried(model.session)]
        # A model of the child's own works.
        texts.append(tried(lambda: labels_of(medsegx.Model(threads=1), small)))
        os.write(writer, "\n".join(texts).encode())
        os._exit(0)
    os.close(writer)
    texts = os.read(reader, 4096).decode().splitlines()
    os.waitpid(child, 0)
    assert len(texts) == 4 and all("'spawn' or 'forkserver'" in text for text in texts[:3]) and texts[3] == "no error"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_started_workers_get_the_model_by_its_path(model, small, method):
    assert len(pickle.dumps(model)) < 500
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(labels_of, model, small).result(timeout=120)
    assert np.array_equal(found, labels_of(model, small))


def test_a_copy_is_a_model(model, small):
    assert np.array_equal(labels_of(copy.deepcopy(model), small), labels_of(model, small))


AT_EXIT = """
import threading, time
import numpy as np, medsegx
model = medsegx.Model(threads=1)
volume = np.repeat((np.arange(48 * 48).reshape(48, 48, 1) % 97).astype(np.int16), 600, axis=2)
began = threading.Event()
def work():
    while True:
        model.segment(volume, affine=np.eye(4), boxes=[9, 9, 0, 38, 38, 599], task="CT_Liver",
                      progress=lambda done, total: began.set())
threading.excepthook = lambda args: None
threading.Thread(target=work, daemon=True).start()
began.wait()
"""


@pytest.mark.parametrize("tries", [int(os.environ.get("MEDSEGX_EXITS", "5"))])
def test_a_daemon_thread_at_exit_ends_with_0(tries):
    for _ in range(tries):
        done = subprocess.run([sys.executable, "-P", "-c", AT_EXIT], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (done.returncode, done.stderr)


def test_import_brings_nothing_but_numpy():
    script = (
        "import sys, numpy\nbefore = set(sys.modules)\nimport medsegx\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(name for name in new if name not in sys.stdlib_module_names and name != 'numpy'))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['medsegx']"


def test_classes_say_where_they_are_from():
    for name in medsegx.__all__:
        what = getattr(medsegx, name)
        if isinstance(what, type):
            assert what.__module__.startswith("medsegx") and what.__doc__, name


def test_a_thread_that_is_not_the_main_one_may_load_a_model(small):
    found = []
    thread = threading.Thread(target=lambda: found.append(labels_of(medsegx.Model(threads=1), small)))
    thread.start()
    thread.join()
    assert found and found[0].any()
