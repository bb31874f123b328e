"""``python -m ragdist.train``: train a relatively augmented GAN, or continue one."""

from ragdist.config import cli, settings
from ragdist.tools.errors import run_command


def main(argv: list[str] | None = None) -> int:
    config, overwrite = settings.parse(cli.arguments() if argv is None else argv, "python -m ragdist.train")

    from ragdist.launch.launch import launch  # after parsing: PyTorch takes seconds to import, --help does not need it

    return launch(config, overwrite=overwrite)


if __name__ == "__main__":
    run_command(main)
