"""Lines typed at a terminal: with history, editing, and more than one line to a message."""

from collections.abc import Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from stemma.core.config.env import state_folder


def lines_of_terminal() -> Iterator[str]:
    """Messages until Ctrl-D. Ctrl-C empties the line."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(folder / "chat_history")),
        key_bindings=keys,
        prompt_continuation="... ",
        placeholder=FormattedText([("ansibrightblack", "/help lists the commands")]),
    )
    while True:
        try:
            yield session.prompt("> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
