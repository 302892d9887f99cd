"""libcontainer, in Python: OCI bundles in, containers out. Start at `Runtime`."""

__all__ = [
    "DEVNULL",
    "PIPE",
    "ConfigError",
    "Container",
    "Error",
    "Exists",
    "NotFound",
    "Process",
    "Runtime",
    "Spec",
    "StepError",
    "WrongState",
]

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.container import Container, Runtime
    from libcontainer_py.errors import ConfigError, Error, Exists, NotFound, StepError, WrongState
    from libcontainer_py.process import DEVNULL, PIPE, Process
    from libcontainer_py.spec.model import Spec


def __getattr__(name: str) -> object:
    # Loaded when asked for: `import libcontainer_py` is on the path of every command.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object
    if name == "Spec":
        from libcontainer_py.spec.model import Spec as value
    else:
        from libcontainer_py import container, errors, process

        places = (errors, process, container)
        value = next(getattr(place, name) for place in places if hasattr(place, name))
    globals()[name] = value
    return value
