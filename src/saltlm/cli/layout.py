"""Tables that lose nothing on a narrow terminal: no cell is cut, no interval is broken."""

from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

_LEAST = 30  # characters of a column of sentences, which may be broken
_GAP = 2
_PIPE_WIDTH = 160


def print_table(table: Table) -> None:
    """Print a table to stdout, its title above it; where nobody reads along, as wide as it is.

    On a terminal that is too narrow, columns named in ``table.caption`` are left out first; if that
    is not enough, each row becomes a block of lines.
    """
    console = Console()
    spare, table.caption = str(table.caption or "").split(), None
    if not console.is_terminal:
        console = Console(width=max(_PIPE_WIDTH, _widest(table)))
    title, table.title = table.title, None
    console.print(Text(f"\n{title}", style="bold"), soft_wrap=not console.is_terminal)
    if not table.row_count:
        return
    left_out = []
    while spare and _needed(table) > console.width:
        left_out.append(spare.pop(0))
        table.columns = [one for one in table.columns if str(one.header) != left_out[-1]]
    if _needed(table) <= console.width:
        console.print(table)
    else:
        for block in _blocks(table):
            console.print(block)
    if left_out:
        console.print(f"(too narrow for: {', '.join(left_out)}; a wider terminal shows them)")


def _widest(table: Table) -> int:
    return sum(_width(one) + _GAP for one in table.columns)


def _needed(table: Table) -> int:
    """Return the columns of a terminal at which nothing but sentences is broken."""
    widths = (_width(one) if one.no_wrap else min(_width(one), _LEAST) for one in table.columns)
    return sum(widths) + _GAP * (len(table.columns) - 1)


def _width(column: Column) -> int:
    return max(_cell_width(cell) for cell in (column.header, *column.cells))


def _cell_width(cell: RenderableType) -> int:
    if isinstance(cell, Bar):
        return cell.width or 0
    return max((cell_len(line) for line in str(cell).split("\n")), default=0)


def _blocks(table: Table) -> list[Text]:
    """Return a block for each row: its first cell, and the others below it under their names."""
    first, *others = table.columns
    blocks = []
    for place, cell in enumerate(first.cells):
        block = Text(str(cell), overflow="fold")
        for column in others:
            value = list(column.cells)[place]
            if not isinstance(value, Bar) and str(value):
                block.append(f"\n  {column.header}: ".replace(" : ", " "))
                block.append(value if isinstance(value, Text) else Text(str(value)))
        blocks.append(block)
    return blocks
