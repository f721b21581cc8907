"""An invented run and soft atlas of the size that people have, for measuring `brainscore parcellate`.

    python make_bold.py OUT_DIR [--maps 256] [--volumes 200] [--shape 91,109,91]

Writes bold.nii.gz (float32, 2 mm, TR 2 s), mask.nii.gz and atlas_<maps>.nii.gz. The maps are Gaussians about random places
of the mask, cut off where they fall below 5 % of their peak; their width is such that 4 to 8 of them overlap in a voxel, whatever
their number. Needs numpy and nibabel.
"""
import argparse, os, numpy as np, nibabel as nib
p = argparse.ArgumentParser(); p.add_argument("out"); p.add_argument("--maps", type=int, default=256); p.add_argument("--volumes", type=int, default=200)
p.add_argument("--shape", default="91,109,91"); p.add_argument("--seed", type=int, default=0); p.add_argument("--only-atlas", action="store_true"); a = p.parse_args()
os.makedirs(a.out, exist_ok=True); S = tuple(map(int, a.shape.split(","))); rng = np.random.default_rng(a.seed)
A = np.diag([-2.0, 2.0, 2.0, 1.0]); A[:3, 3] = (S[0] - 1, -1.17 * S[1], -0.8 * S[2])
G = np.stack(np.meshgrid(*map(np.arange, S), indexing="ij"), -1).astype(np.float32); C = (np.array(S) - 1) / 2
inside = (((G - C) / (0.42 * np.array(S))) ** 2).sum(-1) < 1; V = np.argwhere(inside)
def save(x, name): i = nib.Nifti1Image(x, A); i.header.set_zooms((2, 2, 2, 2.0)[:x.ndim]); i.header.set_xyzt_units("mm", "sec"); nib.save(i, f"{a.out}/{name}")
centres = V[rng.choice(len(V), a.maps, replace=False)]
sigma = (len(V) / a.maps / 4.19 * 6) ** (1 / 3) / np.sqrt(-2 * np.log(0.05))             # a ball of 6 voxels' share of the mask
M = np.zeros((*S, a.maps), np.float32, order="F"); r = int(np.ceil(sigma * np.sqrt(-2 * np.log(0.05))))
for k, c in enumerate(centres):
    box = tuple(slice(max(0, x - r), x + r + 1) for x in c); m = np.exp(-((G[box] - c) ** 2).sum(-1) / (2 * sigma ** 2)); m[m < 0.05] = 0
    M[(*box, k)] = m * inside[box]
save(M, f"atlas_{a.maps}.nii.gz"); print("atlas", M.shape, "maps per voxel of the mask", round(float((M[inside] > 0).sum(-1).mean()), 1))
if not a.only_atlas:
    save(inside.astype(np.uint8), "mask.nii.gz")
    B = np.zeros((*S, a.volumes), np.float32, order="F"); slow = rng.normal(size=(a.volumes, 3)).cumsum(0)
    wave = np.stack([np.cos(np.pi * G[..., i] / S[i]) for i in range(3)], -1)
    for t in range(a.volumes):
        B[..., t] = inside * (800 + 5 * (wave @ slow[t])) + rng.normal(size=S) * np.where(inside, 8, 2)
    save(B, "bold.nii.gz"); print("bold", B.shape)
