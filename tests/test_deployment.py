"""The launcher's files, the image, and what holds for every file that brings a cluster up. Nothing here needs one."""

import http.server
import re
import shlex
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from ragdist.config import settings
from tests.test_manifests import CLUSTER, KUBERAY, ROOT, VARIANTS

# -- the cluster launcher ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((CLUSTER / "launcher").glob("*.yaml")), ids=lambda path: path.name)
def test_launcher_files_are_valid_for_ray(file):
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.prepare_config(yaml.safe_load(file.read_text()))
    util.validate_config(config)
    for kind in ("head", "worker"):
        stop, start = config[f"{kind}_start_ray_commands"]
        assert stop.endswith("ray stop")
        assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token" in start
        subprocess.run(["bash", "-n", "-c", start], check=True)
    assert "--num-cpus=0" in config["head_start_ray_commands"][1]
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][1]


def test_the_launcher_makes_nothing_public():
    config = yaml.safe_load((CLUSTER / "launcher/aws.yaml").read_text())
    assert config["provider"]["use_internal_ips"] is True
    for kind in config["available_node_types"].values():
        machine = kind["node_config"]
        assert machine["SecurityGroupIds"]  # else Ray makes a group that is open for SSH to everyone
        assert machine["SubnetIds"]
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert "InstanceMarketOptions" not in config["available_node_types"][config["head_node_type"]]["node_config"]


@pytest.mark.skipif(not shutil.which("wget"), reason="wget is not installed")
def test_a_spot_notice_drains_the_node(tmp_path):
    seen = []

    class Metadata(http.server.BaseHTTPRequestHandler):
        """EC2's: a token for a PUT, and the notice, there from the second question on, for who shows it."""

        def do_PUT(self):
            self.answer(200 if self.path == "/latest/api/token" else 404, b"a-token")

        def do_GET(self):
            seen.append((self.path, self.headers["X-aws-ec2-metadata-token"]))
            self.answer(200 if len(seen) > 1 else 404, b'{"action": "terminate"}')

        def answer(self, status: int, content: bytes):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fake(tmp_path, "ray", 'printf "%s\\n" "$RAY_ADDRESS" "$@" > "$(dirname "$0")/called"')
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EC2_METADATA": f"http://127.0.0.1:{server.server_port}"}
        script = CLUSTER / "launcher/drain-on-notice.sh"
        subprocess.run(["bash", script, "0.1"], env=environment, check=True, timeout=240, capture_output=True)
        server.shutdown()
    assert seen == 2 * [("/latest/meta-data/spot/instance-action", "a-token")]
    called = (tmp_path / "called").read_text().splitlines()
    assert called[:4] == ["auto", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


# -- all of it --------------------------------------------------------------------------------------------------------


def files() -> list[Path]:
    mine = [CLUSTER / name for name in ("README.md", "kuberay", "slurm", "launcher")]
    return [ROOT / "Dockerfile", *sorted(p for one in mine for p in [one, *one.rglob("*")] if p.is_file())]


SHELL = [path for path in files() if path.suffix in (".sh", ".sbatch")]


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_are_clean(script):
    subprocess.run(["bash", "-n", script], check=True)
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_is_clean():
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not installed")
    done = subprocess.run(["hadolint", "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_holds_what_it_copies_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert allowed == copied
    assert all((ROOT / name).exists() for name in copied)
    assert "*" in lines


def test_entrypoints_are_commands_that_ragdist_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for file in files():
        text = re.sub(r"[\\\n]\s*(?:#\s+)?(?=--)", " ", file.read_text())  # options on lines of their own
        found += [(file, words) for words in re.findall(r"python -m ragdist\.train ([^\n`|]*--out[^\n`|]*)", text)]
        found += [(file, words) for words in re.findall(r"sbatch \S+\.sbatch (--[^\n`|]*)", text)]
    found += [
        (KUBERAY, one["spec"]["entrypoint"].partition("ragdist.train ")[2])
        for variant in VARIANTS.values()
        for one in variant
        if one["kind"] == "RayJob"
    ]
    assert {path.parent.name for path, _ in found} >= {"job", "run", "slurm", "cluster", "launcher"}
    for path, words in found:
        config, overwrite = settings.parse(shlex.split(words), str(path))
        assert config.out, f"{path}: a run needs a name, so that it can continue"
        assert not overwrite, path


@pytest.mark.parametrize("file", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_floating_tags_no_privileges_no_secrets_no_hosts(file):
    text = file.read_text()
    assert not re.search(r":latest\b|privileged: true|--privileged|hostNetwork: true", text)
    for image in re.findall(r"^\s*(?:- )?image: (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"[A-Za-z/]+:[\w.-]+", image), f"{image}: a name without a host, and a version"
    # A key or token that is written out, or an address: where packages and images come from is the user's to say.
    assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{32,}\b|AUTH_TOKEN[=:] ?['\"]?[0-9A-Za-z]{8}", text)
    assert set(re.findall(r"https?://([\w.-]+\w)", text)) <= {"github.com", "127.0.0.1", "169.254.169.254"}


@pytest.mark.parametrize("file", [p for p in files() if p.suffix in (".yaml", ".yml")], ids=lambda path: str(path.name))
def test_yaml_is_tidy(file):
    text = file.read_text()
    assert text.endswith("\n")
    assert not re.search(r"\t|[ ]+\n", text)
    assert max(map(len, text.splitlines())) <= 120
