package ort

import "slices"

// CPUFeatures lists the features of this CPU by which ONNX Runtime chooses its
// kernels and layouts, sorted: a model optimised where they are the same fits.
func CPUFeatures() []string {
	features := []string{}
	for name, has := range cpuFeatures() {
		if has {
			features = append(features, name)
		}
	}
	slices.Sort(features)
	return features
}
