"""Other people's solvers behind one call: (problem, rtol, atol) -> PeerRun, or EnsembleRun for a batch of trajectories."""

from __future__ import annotations

from odebridge.peers.base import EnsembleRun, Peer, PeerRun
from odebridge.peers.catalogue import PEERS, list_peers
from odebridge.peers.faults import KNOWN_FAULTS, Fault, faults_of
from odebridge.peers.scipy import ScipyPeer

__all__ = ["KNOWN_FAULTS", "PEERS", "EnsembleRun", "Fault", "Peer", "PeerRun", "ScipyPeer", "faults_of", "list_peers"]
