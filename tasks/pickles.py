"""Pickles read as data: opcodes build plain values here, and nothing that they name is run.

Python's unpickler imports and calls whatever a file names. Here a name stays a name: the few that
a caller knows how to make become values through the caller's own functions, further known ones
become `Placeholder`s that hold what the file put into them, all others are refused.

`torch.load(weights_only=True)` cannot stand in for this. It reads protocol 2 only, it wants a real
class for every name, and it hands the file's arguments to torch's own functions.
"""

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # protocols to 2 use Python 2's names
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stego_core.errors import WeightsError

SHOWN = 120
"""Characters of a file's own text that a message repeats."""
LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,  # sets become lists: hashing a file's nested tuples may never end
}
Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        """As Python would write it."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Placeholder:
    """An object of a class that is not looked up, and what the file put into it.

    Attributes:
        name: of the class.
        arguments: of its constructor.
        state: its attributes, if the file gives any.
        entries: of a class that is a dictionary.
        items: of a class that is a list or a set.
    """

    name: Name
    arguments: Arguments
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Vocabulary:
    """What a pickle may name.

    Attributes:
        makers: by name, functions that turn the file's arguments, which they must check, into
            values; they raise ValueError for others than they know.
        refuse: raises WeightsError for a name that may not become a placeholder.
        stored: turns a persistent id into a value, or raises ValueError.
    """

    makers: Mapping[str, Callable[[Arguments], Any]]
    refuse: Callable[[Name], None]
    stored: Callable[[Any], Any]


def read(content: bytes, vocabulary: Vocabulary) -> Any:
    """The value of a pickle of any protocol: plain values, the makers' values, placeholders.

    Sets become lists. Entries of dictionaries whose key is neither a string, a number nor a
    placeholder are left out.

    Raises:
        WeightsError: it names something unknown, uses an opcode that builds no data, or is damaged.
    """
    machine = _Machine(vocabulary)
    try:
        for opcode, argument, _ in pickletools.genops(content):
            machine.step(opcode.name, argument)
        return machine.pop()
    except (ValueError, LookupError) as error:
        raise WeightsError(f"its pickle is damaged ({str(error)[:SHOWN]!a})") from None


class _Machine:
    """The stack machine that pickles are programs of, with all that is not data left out."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """An empty stack."""
        self.vocabulary = vocabulary
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        """Put a value on top of the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """The top of the stack, taken off."""
        return self.stack.pop()

    def marked(self) -> list[Any]:
        """All that was pushed since the last mark, taken off with it."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def step(self, code: str, argument: Any) -> None:
        """Carry out one opcode."""
        if code in LITERALS:
            self.push(argument)
        elif code in CONSTANTS:
            self.push(CONSTANTS[code])
        elif code in EMPTY:
            self.push(EMPTY[code]())
        elif not (self._moved(code, argument) or self._collected(code)):
            self._made(code, argument)

    def _moved(self, code: str, argument: Any) -> bool:
        """Opcodes that only move what is there; whether this is one of them."""
        match code:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "POP" if self.stack:
                self.stack.pop()
            case "POP" | "POP_MARK":
                self.marked()
            case "DUP":
                self.push(self.stack[-1])
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.push(self.memo[argument])
            case _:
                return False
        return True

    def _collected(self, code: str) -> bool:
        """Opcodes that fill tuples, lists, sets and dictionaries; whether this is one of them."""
        match code:
            case "TUPLE":
                self.push(tuple(self.marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [self.pop() for _ in range(int(code[-1]))]
                self.push(tuple(reversed(items)))
            case "LIST" | "FROZENSET":
                self.push(self.marked())
            case "APPEND":
                self._extend([self.pop()])
            case "APPENDS" | "ADDITEMS":
                self._extend(self.marked())
            case "DICT":
                items = self.marked()
                self.push({})
                self._fill(items)
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self._fill([key, value])
            case "SETITEMS":
                self._fill(self.marked())
            case _:
                return False
        return True

    def _extend(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target = target.items
        if type(target) is not list:
            raise ValueError("something is appended to what is no list")
        target.extend(items)

    def _fill(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target = target.entries
        if type(target) is not dict or len(items) % 2:
            raise ValueError("entries are put into what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key is None or isinstance(key, str | bytes | int | float | Name | Placeholder):
                target[key] = value

    def _made(self, code: str, argument: Any) -> None:
        """Opcodes with which a pickle can name things, make objects of them and change those."""
        match code:
            case "GLOBAL":
                self.push(self._name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                self.push(self._name(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, callee = self.pop(), self.pop()
                self.push(self._object(callee, arguments))
            case "NEWOBJ_EX":
                _, arguments, callee = self.pop(), self.pop(), self.pop()
                self.push(self._object(callee, arguments))
            case "INST":
                callee = self._name(*argument.split(" ", 1))
                self.push(self._object(callee, tuple(self.marked())))
            case "OBJ":
                callee, *arguments = self.marked()
                self.push(self._object(callee, tuple(arguments)))
            case "BUILD":
                self._build(self.pop())
            case "BINPERSID":
                self.push(self.vocabulary.stored(self.pop()))
            case _:
                raise WeightsError(f"its pickle uses {code}, which builds no data")

    def _name(self, module: Any, name: Any) -> Name:
        """A name that the file may use."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name is no text")
        found = Name(*NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
        if str(found) not in self.vocabulary.makers:
            self.vocabulary.refuse(found)
        return found

    def _object(self, callee: Any, arguments: Any) -> Any:
        """What stands for callee(*arguments)."""
        if type(callee) is not Name or type(arguments) is not tuple:
            raise WeightsError("its pickle calls what is no name")
        maker = self.vocabulary.makers.get(str(callee))
        if maker is None:
            return Placeholder(callee, arguments)
        try:
            return maker(arguments)
        except ValueError as error:
            raise WeightsError(f"it calls {callee} with arguments that {error}") from None

    def _build(self, state: Any) -> None:
        """Give the top of the stack its attributes; those of other values than placeholders,
        such as the `_metadata` of a state dict, are left out.
        """
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.state = state
        elif target is None or isinstance(target, str | bytes | int | float | list | tuple | Name):
            raise WeightsError("its pickle gives attributes to what has none")
