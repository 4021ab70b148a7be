"""What a policy relies on, and when it should not be trusted.

`robustness` scores it under perturbations, `trust` asks whether its confidence means anything,
`sight` shows what in an image decides, `similarity` compares what two networks represent.
"""
