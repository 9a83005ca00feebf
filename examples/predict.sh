textseg3d predict -i examples/chest_ct.nii.gz -p "left lung" "liver" "heart" -o out/picture/ --preview
