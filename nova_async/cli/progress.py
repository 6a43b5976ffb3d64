"""What a starting cloud says on the terminal."""

import sys
import time

import click


class Progress:
    """Lines with the seconds since the start, for people; ``ready URL`` stands alone for programs."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, text: str) -> None:
        click.echo(f"[{time.monotonic() - self.began:6.1f} s] {text}")
        sys.stdout.flush()
