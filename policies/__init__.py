"""One interface for everything that chooses a dose: protocols, MPC, trained networks."""
