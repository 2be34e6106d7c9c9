"""The article's examples on public data, each beside its baselines: `python -m benchmarks.article`.

For each `experiment=article/<example>` the recipe, a linear probe, the target from random weights on the same budget,
the same trained to its plateau, and what an example's own question needs. Finished runs are recorded in
`docs/article.json`, from which `docs/article.md` is made; they are not repeated, so the command can be stopped at any
time.
"""
