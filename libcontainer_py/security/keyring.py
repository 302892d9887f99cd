"""A session keyring of the container's own, so that it can't read the host's keys (keyrings(7))."""

from libcontainer_py.linux import syscalls
from libcontainer_py.linux.flags import KEYCTL_SETPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer_py.namespaces.finish import FinishList

_ENOSYS = 38
# KEY_POS_ALL: whoever possesses the keyring may do all with it. KEY_USR_SEARCH: other sessions of
# the same user may search it, so that an `exec` joins the same one.
_KEY_POS_ALL = 0x3F000000
_KEY_USR_SEARCH = 0x00080000


def record_session_keyring(calls: "FinishList", container_id: str) -> None:
    """Record what `join_session_keyring` does, for a second process: it finds the first one's."""
    calls.at("JoinSessionKeyring")
    calls.keyring(f"_ses.{container_id}", _KEY_POS_ALL | _KEY_USR_SEARCH)


def join_session_keyring(container_id: str) -> None:
    """Join the session keyring that is named for the container, in place of the host's.

    It is made where there is none yet.

    Raises:
        OSError: EDQUOT when the user's quota of keys is used up. A kernel without keyrings is none.
    """
    try:
        ring = syscalls.keyctl_join_session_keyring(f"_ses.{container_id}")
    except OSError as error:
        if error.errno == _ENOSYS:
            return
        raise
    syscalls.keyctl(KEYCTL_SETPERM, ring, _KEY_POS_ALL | _KEY_USR_SEARCH)
