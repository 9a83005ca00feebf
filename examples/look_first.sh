textseg3d check examples/chest_ct.nii.gz
textseg3d prompt "6 mm nodule in the LLL" "no pleural effusion" --json
