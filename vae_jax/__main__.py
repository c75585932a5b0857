"""The commands of `experiments/` as one program: `vae-jax train --workdir=…`, or `python -m vae_jax train …`."""

import os
import pkgutil
import runpy
import sys
from pathlib import Path

# A wheel carries the commands in this folder, so that it installs no package with a name as common as "experiments".
_BUNDLED = Path(__file__).parent / "bundled"


def main() -> None:
    """Runs the command that the first argument names, with the rest of the arguments, as `./launch.sh` does."""
    if _BUNDLED.is_dir():
        sys.path.insert(0, str(_BUNDLED))
        # For the processes that a command starts.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(_BUNDLED), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        import experiments
        import experiments.command.flags
    except ModuleNotFoundError as error:
        sys.exit(f"error: the commands need the package {error.name}: pip install 'vae_jax[experiments]'")
    commands = sorted(module.name for module in pkgutil.iter_modules(experiments.__path__) if not module.ispkg)
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(f"{__doc__}\n\nCommands, each with --help: {' '.join(commands)}")
        return
    if name not in commands:
        sys.exit(f"error: unknown command '{name}'; choose {' '.join(commands)}")
    if os.environ.get("PROCESSES", "1") != "1" or any(text.startswith("--max_restarts") for text in arguments):
        name, arguments = "command.processes", [name, *arguments]
    sys.argv = [name, *arguments]
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
