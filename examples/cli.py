"""LightningCLI over a cell: `python examples/cli.py fit --config examples/cli.yaml`, or `fit --help`."""

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from datamodules.pair import CombinedData
from tl_modules import MultiTask


class CLI(LightningCLI):
    """The module's tasks are those of the data; all else is an argument."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Carry the tasks over."""
        parser.link_arguments("data.tasks", "model.target", lambda tasks: tasks["target"].to_dict(), "instantiate")
        parser.link_arguments("data.tasks", "model.source", lambda tasks: tasks["source"].to_dict(), "instantiate")


if __name__ == "__main__":
    cli = CLI(MultiTask, CombinedData, save_config_callback=None)
