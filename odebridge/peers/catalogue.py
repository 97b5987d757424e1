"""PEERS: a new peer is one adapter and one line here. A peer that is not installed stays in the list and says so when asked."""

from __future__ import annotations

from odebridge.core.names import matching
from odebridge.peers.base import Peer
from odebridge.peers.diffrax import DiffraxPeer
from odebridge.peers.scipy import OdeintPeer, ScipyPeer
from odebridge.peers.sundials import SundialsPeer
from odebridge.peers.torchdiffeq import TorchdiffeqPeer
from odebridge.peers.torchode import TorchodePeer
from odebridge.peers.unmeasured import UnmeasuredPeer

_ALL: tuple[Peer, ...] = (
    *(ScipyPeer(name) for name in ("RK45", "Radau", "BDF", "LSODA")),
    OdeintPeer(),
    SundialsPeer(),
    TorchdiffeqPeer("dopri5"),
    TorchodePeer("dopri5"),
    TorchodePeer("tsit5"),
    *(DiffraxPeer(name) for name in ("Tsit5", "Dopri8", "Kvaerno3", "Kvaerno5")),
    DiffraxPeer("Kvaerno3", fixed=True),
    DiffraxPeer("Kvaerno5", fixed=True),
    UnmeasuredPeer(
        "yabi:BDF", "yabi-torch", "It could not be installed where the others were measured: no file for Python 3.11 was found."
    ),
)
PEERS: dict[str, Peer] = {peer.name: peer for peer in _ALL}


def list_peers(pattern: str = "*") -> list[str]:
    """Names of the peers that match a wildcard pattern: `list_peers("scipy:*")`."""
    return matching(PEERS, pattern)
