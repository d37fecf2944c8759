r"""Heat-bath updates of many chains, for the processor, for CUDA, and in plain torch; circuits.

`population` is the door: it chooses a form and keeps the chains. `plain` is the reference in
torch, `panels` and `vectors` are the compiled form for the processor, `tiles` and `cuda` the one
for CUDA. `clusters` also flips whole sets of spins, for the simulated annealer, and `worldlines`
(compiled: `compiled_worldlines`) takes a transverse field.

All forms lay out one table of neighbors (`adjacency`), and all that is compiled for the processor
draws by one generator and one power series (`heat_bath`).

`state_vector` has nothing of these: it runs circuits of gates, in plain torch.
"""
