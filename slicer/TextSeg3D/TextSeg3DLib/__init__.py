"""What the TextSeg3D module does, without its window: usable and tested outside 3D Slicer.

Nothing here needs a package that Slicer does not bring: the standard library, numpy, and (in
``mrml`` alone) vtk and slicer.
"""
