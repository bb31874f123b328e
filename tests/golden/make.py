"""Make the golden files of a version: what its commands leave, which every later version goes on reading.

    PYTHONPATH=CHECKOUT python tests/golden/make.py [tests/golden/VERSION]

CHECKOUT holds the version's own code. What is made here is made by its commands, in processes of their own, from
pictures that a seed draws. Files name no machine: `@HERE@` stands for the folder that all was made in, and
`tests.golden.copied` puts another in its place. about.json says with which libraries and processor they were made, and
which weights the interrupted run comes to when that version goes on with it.

Golden files are written once, when a version is released, and never again: a folder that exists is refused.
"""

import gzip
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

HERE = "@HERE@"
TEXTS = (".json", ".jsonl", ".yaml", ".csv", "")
SIDE, CLASSES = 8, ("ant", "bee", "cat")
MLP = [
    "--data=shards",
    "--network.family=mlp",
    "--network.g_width=8",
    "--network.d_width=8",
    "--network.depth=2",
    "--network.z_dim=4",
    "--network.labels=true",
    "--batch_size=32",
    "--objective.group=16",
    "--data.loader_workers=0",
    "--data.cache=cache/fetched",
    "--device=cpu",
    "--monitor.grid_every=1000000",
]
# Options in samples or by the name of a space, with values of their own, so that a reader that loses one is found out.
OWN = [
    "--objective.lam=0.75",
    "--objective.lam_schedule=linear",
    "--objective.lam_samples=500000",
    "--objective.space=points",
    "--optim.warmup_samples=320",
    "--optim.lr_schedule=cosine",
    "--optim.lr_samples=400000",
    "--optim.ema_samples=640",
    "--optim.g_lr=0.002",
    "--optim.d_lr=0.001",
    "--evaluate.cache=cache",
    "--evaluate.features=pixels",
    "--evaluate.samples=60",
    "--evaluate.share=1",
]
SPACE = """\
objective.lam: {loguniform: [0.1, 10]}
objective.space: {choice: [points, feature]}
optim: {ema_samples: {int: [100, 1000]}}
"""
SEARCH = [
    *MLP,
    "--images=6400",
    "--space=space.yaml",
    "--search=random",
    "--scheduler=none",
    "--trials=3",
    "--budget_samples=3200",
    "--samples=60",
    "--features=pixels",
    "--concurrent=1",
    "--monitor.tensorboard=false",
]


def main(out: Path) -> None:
    if out.exists():
        sys.exit(f"{out} is there already: golden files are made once")
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        place = Place(Path(scratch).resolve())
        for make in (
            shards, indexed, finished, unfinished, families, samples, evaluation, fetched, classifier, searches,
        ):  # fmt: skip
            make(place)
            print(f"made: {make.__name__}", flush=True)
        place.keep(out)
    for path in sorted(path for path in out.iterdir()):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        print(f"{path}: {len(files)} files, {sum(file.stat().st_size for file in files):,} bytes")


class Place:
    """The folder in which all is made, and what is kept of it."""

    def __init__(self, path: Path):
        self.path = path
        self.kept: list[str] = []
        self.about: dict = {"commands": []}

    def run(self, module: str, *words: str) -> str:
        """A command's output."""
        self.about["commands"].append(" ".join([module, *words]))
        argv = [sys.executable, "-m", module, *words]
        done = subprocess.run(argv, cwd=self.path, env=environment(), capture_output=True, text=True, timeout=600)
        if done.returncode:
            sys.exit(f"{module} {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def begin(self, module: str, *words: str) -> subprocess.Popen:
        self.about["commands"].append(" ".join([module, *words]))
        log = open(self.path / ".log", "w")  # noqa: SIM115 - the process's
        return subprocess.Popen(
            [sys.executable, "-m", module, *words], cwd=self.path, env=environment(), stdout=log, stderr=log
        )

    def keep(self, out: Path) -> None:
        """Copy what is kept, without the names of this machine."""
        for name in self.kept:
            source = self.path / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, _parent(out / name))
        for path in sorted(out.rglob("*")):
            if path.is_file():
                self._anonymize(path)
        self.about |= machine()
        (out / "about.json").write_text(json.dumps(self.about, indent=1) + "\n")
        names_me = re.compile(rf"\b{re.escape(socket.gethostname())}\b".encode())
        for path in out.rglob("*"):
            assert not names_me.search(path.name.encode()), path
            content = path.read_bytes() if path.is_file() else b""
            assert str(self.path).encode() not in content, path
            assert str(Path.home()).encode() not in content, path
            assert path.suffix not in TEXTS or not names_me.search(content), path

    def _anonymize(self, path: Path) -> None:
        """Make a file name no machine, and a picture small."""
        if path.name.startswith("events.out.tfevents."):
            siblings = sorted(path.parent.glob("events.out.tfevents.*"))
            without_pictures(path)
            path.rename(path.with_name(f"events.out.tfevents.{1_700_000_000 + siblings.index(path)}.host.1.0"))
        elif path.name == "lock" or path.suffix == ".lock" or path.name == ".lock":
            if text := path.read_text():
                path.write_text("\n".join(["process 1 on host", *text.splitlines()[1:], ""]))
        elif path.name == "evaluation.html" or path.name == "report.html":
            path.unlink()  # of pictures, and nothing reads it
        elif path.suffix in TEXTS:
            path.write_bytes(path.read_bytes().replace(str(self.path).encode(), HERE.encode()))
        elif path.parent.name == "samples":
            Image.open(path).quantize(4).save(path, optimize=True)


def shards(place: Place) -> None:
    """A data set with classes, in three shards."""
    for number in range(60):
        name = CLASSES[number % len(CLASSES)]
        file = _parent(place.path / f"pictures/{name}/{number:03d}.png")
        file.write_bytes(picture(number))
    place.run("ragdist.shards", "pictures", "shards", "--shard_samples=25")
    place.kept.append("shards")


def indexed(place: Place) -> None:
    """Tars of another writer, with names in .json, and their index beside them."""
    for part in range(2):
        with tarfile.open(_parent(place.path / f"indexed/part-{part}.tar"), "w", tarfile.USTAR_FORMAT) as tar:
            for number in range(15):
                label = json.dumps({"class": CLASSES[number % 3]})
                for extension, data in (("png", picture(100 * part + number)), ("json", label.encode())):
                    member = tarfile.TarInfo(f"{part}{number:04d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    place.run("ragdist.shards", "index", "indexed", "--label=class")
    place.kept.append("indexed")


def finished(place: Place) -> None:
    """A run with two checkpoints, evaluations, a best generator, pictures."""
    every = ["--checkpoint.every=1600", "--checkpoint.keep=2", "--evaluate_every=1600"]
    place.run("ragdist.train", *MLP, *OWN, *every, "--out=finished", "--samples=3200")
    place.kept.append("finished")


def unfinished(place: Place) -> None:
    """A run that Ctrl-C ended, and what becomes of it."""
    words = [*MLP, *OWN, "--checkpoint.every=1600", "--checkpoint.keep=1"]
    words += ["--out=unfinished", "--samples=20000", "--evaluate_every=16000", "--monitor.seconds=0.2"]
    folder = place.path / "unfinished"
    process = place.begin("ragdist.train", *words)
    wait_for(lambda: any(folder.glob("checkpoints/samples-00000001[6-9]*")), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, (place.path / ".log").read_text()
    shutil.copytree(folder, place.path / "continued/unfinished")
    for name in ("shards", "cache"):
        (place.path / "continued" / name).symlink_to(place.path / name)
    Place(place.path / "continued").run("ragdist.train", *words)
    end = place.path / "continued/unfinished"
    shutil.copy(end / "generator.safetensors", place.path / "continued.safetensors")
    said = json.loads((end / "summary.json").read_text())
    place.about["continued"] = {name: said[name] for name in ("samples", "weights_sha256")}
    place.kept += ["unfinished", "continued.safetensors"]


def families(place: Place) -> None:
    """Generators of the other families."""
    narrow = ["--network.g_width=4", "--network.d_width=4", "--network.max_width=8", "--network.group_width=4"]
    for family, labels in (("dcgan", "true"), ("resnet", "false")):
        words = [f"--network.family={family}", f"--network.labels={labels}", f"--out={family}", "--samples=64"]
        place.run("ragdist.train", *MLP, *narrow, *words)
        shutil.copy(place.path / family / "generator.safetensors", place.path / f"{family}.safetensors")
        place.kept.append(f"{family}.safetensors")


def samples(place: Place) -> None:
    """What the generators draw."""
    for source, *more in (("finished", "--class=bee"), ("dcgan.safetensors", "--class=2"), ("resnet.safetensors",)):
        drawn = f"drawn-{source.partition('.')[0]}.png"
        place.run("ragdist.generate", source, "--n=4", "--seed=3", *more, f"--out={drawn}")
        place.kept.append(drawn)


def evaluation(place: Place) -> None:
    """A run's evaluation by the command, and the features that it kept."""
    words = ["--features=pixels", "--samples=60", "--cache=cache", "--device=cpu"]
    place.run("ragdist.evaluate", "finished", "--metrics=frechet,kid,precision_recall", *words)
    place.kept.append("cache")


def fetched(place: Place) -> None:
    """The cache of shards that were fetched from a server."""
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", "shards"],
        cwd=place.path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        words = [*MLP, f"--data=http://127.0.0.1:{port}/", "--data.cache=cache/fetched"]
        place.run("ragdist.train", *words, "--out=remote", "--samples=64")
        files = {file: file.stat().st_size for file in (place.path / "cache/fetched").rglob("*")}
        for file in sorted((file for file in files if files[file] > 10_000), key=files.get)[1:]:
            file.unlink()  # one shard is enough
    finally:
        server.kill()
        server.wait()


def classifier(place: Place) -> None:
    """The classifier of the data, with weights that pack well: zeros."""
    words = ["--features=classifier", "--metrics=classes", "--samples=60", "--cache=features", "--out=named"]
    place.run("ragdist.evaluate", "finished", *words, "--device=cpu")
    (file,) = (place.path / "shards").glob("classifier-*.safetensors")
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    zeros = content[:header] + bytes(len(content) - header)
    (place.path / f"{file.name}.gz").write_bytes(gzip.compress(zeros, mtime=0))
    place.kept.append(f"{file.name}.gz")
    file.unlink()


def searches(place: Place) -> None:
    """A search that ended, and one that was killed in its second trial."""
    (place.path / "space.yaml").write_text(SPACE)
    place.run("tune.search", *SEARCH, "--out=searched")
    killed = place.path / "killed"
    process = place.begin("tune.search", *SEARCH, "--out=killed")

    def half_way() -> bool:
        record = killed / "trials/0001/trial.json"
        return record.is_file() and bool(json.loads(record.read_text())["rungs"])

    wait_for(half_way, process)
    process.kill()
    process.wait()
    settled(killed)
    for folder in ("searched", "killed"):
        shutil.rmtree(place.path / folder / ".tune", ignore_errors=True)  # Ray Tune's own
        shutil.rmtree(place.path / folder / "tensorboard", ignore_errors=True)  # written anew by every summary
        for file in (place.path / folder).rglob("samples/*"):
            file.unlink()  # the same for each
    place.kept += ["space.yaml", "searched", "killed"]


def picture(seed: int) -> bytes:
    """A grey picture of 8x8 as PNG: a blob where its number says."""
    draw = random.Random(seed)
    x, y, size = draw.uniform(1, 6), draw.uniform(1, 6), 1 + seed % 3
    pixels = [
        min(255, int(255 / (1 + ((i % SIDE - x) ** 2 + (i // SIDE - y) ** 2) / size)) + draw.randrange(8))
        for i in range(SIDE**2)
    ]
    out = io.BytesIO()
    image = Image.new("L", (SIDE, SIDE))
    image.putdata(pixels)
    image.save(out, "PNG")
    return out.getvalue()


def without_pictures(path: Path) -> None:
    """Cut TensorBoard's records of pictures out of a file: each is its length, 4 bytes, itself, 4 bytes."""
    content, kept, at = path.read_bytes(), b"", 0
    while at < len(content):
        end = at + 16 + int.from_bytes(content[at : at + 8], "little")
        kept += content[at:end] if end - at < 4096 else b""
        at = end
    path.write_bytes(kept)


def machine() -> dict[str, str]:
    """What the bits of a run depend on beside configuration and data."""
    import torch

    import ragdist

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "ragdist": ragdist.__version__,
        "torch": torch.__version__,
        "processor": names[0].partition(":")[2].strip() if names else "",
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "RAY_worker_niceness": "0"}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def settled(folder: Path, seconds: float = 10) -> None:
    """Wait until nothing in a folder changes any more."""
    since, before = time.monotonic(), None
    while time.monotonic() < since + seconds:
        now = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.exists()}
        if now != before:
            since, before = time.monotonic(), now
        time.sleep(0.5)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    if len(sys.argv) == 1:
        import ragdist

        main(Path(__file__).parent / ragdist.__version__)
    else:
        main(Path(sys.argv[1]))
