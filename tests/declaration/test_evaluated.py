"""As `test_right`, in a module whose annotations are evaluated at once."""

import msgspec

import inorder
from inorder.declaration import declaration_of


class Entry(msgspec.Struct):
    account: str
    version: int


def test_types_of_the_module_and_of_a_function() -> None:
    class State(msgspec.Struct):
        total: int

    @inorder.fold(key="account", version="version")
    def balance(state: State | None, entry: Entry) -> "State":
        raise NotImplementedError

    found = declaration_of(balance)
    assert (found.payload, found.state) == (Entry, State)
