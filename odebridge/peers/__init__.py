"""Other people's solvers behind one call: (problem, rtol, atol) -> PeerRun."""

from __future__ import annotations

from odebridge.peers.base import Peer, PeerRun
from odebridge.peers.catalogue import PEERS, list_peers
from odebridge.peers.scipy import ScipyPeer

__all__ = ["PEERS", "Peer", "PeerRun", "ScipyPeer", "list_peers"]
