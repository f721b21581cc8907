// Volumes to parcels by least squares: min_x |v - M x|^2, M sparse (voxels, parcels).
//
//   right[l][p] = sum over the voxels e of parcel p of weight[e] volume[l][voxel[e]]        M'v, float64
//   x[l][p]     = sum_q right[l][q] inverse[q][p]                                           (M'M)^-1 or its pseudo-inverse
//
// M is kept by parcel: entries starts[p] .. starts[p + 1] with voxel and weight. Volumes stream: a launch takes some of them.
//
// parcellate_sums   grid (parcels, volumes), block 256: a block strides over the entries of one parcel, then adds in a tree
//                   of fixed shape. Voxels of a parcel are neighbours, hence reads nearly so.
// parcellate_solve  grid (parcels, volumes), block 256. float64.
// Largest tested: 1025 parcels, 40,000 voxels, 33 volumes. Tested under emulation only.

extern "C" __global__ void __launch_bounds__(THREADS)
    parcellate_sums(const float* volumes, unsigned long long voxels, const unsigned long long* starts,
                    const unsigned int* voxel, const float* weight, int parcels, double* right)
{
    __shared__ double scratch[THREADS / 32];
    const int parcel = blockIdx.x, lane = blockIdx.y;
    const float* volume = volumes + (size_t)lane * voxels;
    double sum = 0;
    for (size_t e = starts[parcel] + threadIdx.x; e < starts[parcel + 1]; e += THREADS)
        sum += (double)weight[e] * (double)volume[voxel[e]];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) right[(size_t)lane * parcels + parcel] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    parcellate_solve(const double* right, const double* inverse, int parcels, double* x)
{
    __shared__ double scratch[THREADS / 32];
    const int parcel = blockIdx.x, lane = blockIdx.y;
    double sum = 0;
    // The inverse is symmetric: its column is its row, which neighbouring threads read side by side.
    for (int q = threadIdx.x; q < parcels; q += THREADS)
        sum += right[(size_t)lane * parcels + q] * inverse[(size_t)parcel * parcels + q];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) x[(size_t)lane * parcels + parcel] = sum;
}
