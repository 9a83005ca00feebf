from textseg3d import Segmenter

segmenter = Segmenter(model="ct-nano", device="auto")  # loads once
result = segmenter.predict("examples/chest_ct.nii.gz", ["left lung", "liver"])
print("liver:", result["liver"].presence, int(result["liver"].array.sum()), "voxels")
result.save("out/python/")  # the same files as the command line

with segmenter.set_image("examples/chest_ct.nii.gz") as scan:  # the image side runs once
    for prompt in ("heart", "spleen", "upper lobe of right lung"):
        print(prompt, scan.predict(prompt)[prompt].presence)
