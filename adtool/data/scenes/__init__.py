"""Made scenes: what the sample sets show.

A scene is a module with `DEFECTS`, the kinds of defect it knows, and `render(scene, size, flaws)`, an (H, W, 3) uint8
picture with one defect for each name in `flaws`. What a good picture shows is drawn from the generator `scene`, what a
defect looks like from its own generator `flaws[name]`: the same `scene` without flaws is the same picture without them,
to the last pixel.
"""
