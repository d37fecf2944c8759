r"""Heat-bath updates of many chains, for the processor, for CUDA, and in plain torch.

`population` is the door: it chooses a form and keeps the chains. `plain` is the reference in
torch, `panels` and `vectors` are the compiled form for the processor, `cuda` is the one for CUDA.
`clusters` also flips whole sets of spins, for the simulated annealer, and `worldlines` (compiled:
`compiled_worldlines`) takes a transverse field.
"""
