package deps

import "fmt"

// GPULibrary is where the build of ONNX Runtime for CUDA lies below the folder
// of fetched things. Its provider is beside it, NVIDIA's libraries are in cuda/.
const GPULibrary = "gpu/libonnxruntime.so." + ONNXRuntime

// GPUWheels is what a GPU needs besides: 1.6 GB to fetch, 2.6 GB on disk, so
// only what asks for a GPU fetches it. NVIDIA's libraries are under NVIDIA's
// licence, which lies beside them. Of ONNX Runtime's providers, CUDA's is taken.
func GPUWheels(platform string) ([]Wheel, error) {
	if platform != "linux/amd64" {
		return nil, fmt.Errorf("no CUDA libraries are pinned for %s: GPUs are used on linux/amd64", platform)
	}
	return []Wheel{
		{
			Package: "nvidia-cublas", Version: "13.10.0.20", Platform: "manylinux_2_5_x86_64", Size: 444289903,
			SHA256: "dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84",
			Members: []Member{
				{"nvidia/cu13/lib/libcublas.so.13", "gpu/cuda/libcublas.so.13", "863f349b5352363c66079090d43d9d56ad3d676373ecac18418fd4fb2d0579d1", 57282152},
				{"nvidia/cu13/lib/libcublasLt.so.13", "gpu/cuda/libcublasLt.so.13", "b58e18ab4a6adc9bf4833d5cfe28db688e675fd6021db7eaf5da78d23f95d2de", 551653208},
				{"nvidia_cublas-13.10.0.20.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-cublas.txt", "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd", 59262},
			},
		},
		{
			Package: "nvidia-cuda-nvrtc", Version: "13.5.37", Platform: "manylinux_2_12_x86_64", Size: 58185930,
			SHA256: "86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc",
			Members: []Member{
				{"nvidia/cu13/lib/libnvrtc-builtins.so.13.5", "gpu/cuda/libnvrtc-builtins.so.13.5", "6cecb2fd3e562bab1cb1c6e192f8f828157683c8febb22a00e178f9faf4e7f6a", 7268296},
				{"nvidia/cu13/lib/libnvrtc.so.13", "gpu/cuda/libnvrtc.so.13", "98a317ff5d2176dee5a04235c6663f8d553d5ed95b3104cbf7fb198cbf76a10d", 141163664},
				{"nvidia_cuda_nvrtc-13.5.37.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-cuda-nvrtc.txt", "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd", 59262},
			},
		},
		{
			Package: "nvidia-cuda-runtime", Version: "13.5.37", Platform: "manylinux_2_17_x86_64", Size: 2504024,
			SHA256: "df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d",
			Members: []Member{
				{"nvidia/cu13/lib/libcudart.so.13", "gpu/cuda/libcudart.so.13", "be114eaabb3f3251cf30b6e334be5e8c3cf1b12c0a11c17295a810dd83cc141a", 806720},
				{"nvidia_cuda_runtime-13.5.37.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-cuda-runtime.txt", "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd", 59262},
			},
		},
		{
			Package: "nvidia-cudnn-cu13", Version: "9.28.1.4", Platform: "manylinux_2_27_x86_64", Size: 516817937,
			SHA256: "a54f205b1db1f2895d99f398754db1369816f0569dd459731f925635cf7b65ec",
			Members: []Member{
				{"nvidia/cudnn/lib/libcudnn.so.9", "gpu/cuda/libcudnn.so.9", "f756cabeed9b481134769fdbc0c2ae022cf52ac39aab08be26ea990a56da2efc", 137432},
				{"nvidia/cudnn/lib/libcudnn_adv.so.9", "gpu/cuda/libcudnn_adv.so.9", "d69ed7d8adc4524ddb6cbf5e10211e35f580d14e40924692f0cdf1b78cf23ab2", 92392360},
				{"nvidia/cudnn/lib/libcudnn_cnn.so.9", "gpu/cuda/libcudnn_cnn.so.9", "2512f47e6e33000e12be5b2e59ac71eb8f5805a548561e7637e4413d1b7cdeb7", 4204144},
				{"nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9", "gpu/cuda/libcudnn_engines_precompiled.so.9", "51bd1d25591ae2994120aac5c5be172e31b973e0fdeba43a50647949096ee40a", 260072128},
				{"nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9", "gpu/cuda/libcudnn_engines_runtime_compiled.so.9", "738655d1b9441a752fde9b9911780635e60fe96113f2b06c1af6d70458ef5174", 41978752},
				{"nvidia/cudnn/lib/libcudnn_engines_tensor_ir.so.9", "gpu/cuda/libcudnn_engines_tensor_ir.so.9", "ff088c803f896fd9a92c0ab861026ff3b7ee5a4222713c3dd8221e1c843e74ec", 249581552},
				{"nvidia/cudnn/lib/libcudnn_ext.so.9", "gpu/cuda/libcudnn_ext.so.9", "46c273e178b7733ffa5d56bd9719f378a20b94e07d2ccf23c4078e22bced0652", 10492592},
				{"nvidia/cudnn/lib/libcudnn_graph.so.9", "gpu/cuda/libcudnn_graph.so.9", "06c28f04f028466cf33461a7d645210146015d425a0dae6c7dc7e60c07c4d973", 149118552},
				{"nvidia/cudnn/lib/libcudnn_heuristic.so.9", "gpu/cuda/libcudnn_heuristic.so.9", "7738da4dd6fee9597680ff595863743b2bc4bd5b0ec3edb4e8e9d28a2b5e629d", 96473968},
				{"nvidia/cudnn/lib/libcudnn_ops.so.9", "gpu/cuda/libcudnn_ops.so.9", "e849b0a7353eec5bb5c9f75d841d075d786e205d84f8fd07b092770554674e48", 35661648},
				{"nvidia_cudnn_cu13-9.28.1.4.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-cudnn-cu13.txt", "49cf79bdb35734b52fe6203013b3bd759f81e998cd32aa2c65c51db9a88c61d2", 18174},
			},
		},
		{
			Package: "nvidia-cufft", Version: "12.5.0.14", Platform: "manylinux_2_17_x86_64", Size: 165072555,
			SHA256: "b8be26837a5abad2b5b74f3e92dd29f622a42934b355be0961a48712cbba23ad",
			Members: []Member{
				{"nvidia/cu13/lib/libcufft.so.12", "gpu/cuda/libcufft.so.12", "fbc2100d3725d93ebd5c407c4c33717097f34ec0fd01ee899be4c9712b671774", 236983152},
				{"nvidia_cufft-12.5.0.14.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-cufft.txt", "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd", 59262},
			},
		},
		{
			Package: "nvidia-curand", Version: "10.4.5.25", Platform: "manylinux_2_27_x86_64", Size: 77113015,
			SHA256: "22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529",
			Members: []Member{
				{"nvidia/cu13/lib/libcurand.so.10", "gpu/cuda/libcurand.so.10", "82586610865e67dc73505087e04dd40a3cc69b281028731ce763faafe14b1347", 104860296},
				{"nvidia_curand-10.4.5.25.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-curand.txt", "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd", 59262},
			},
		},
		{
			Package: "nvidia-nvjitlink", Version: "13.5.37", Platform: "manylinux_2_12_x86_64", Size: 46642491,
			SHA256: "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
			Members: []Member{
				{"nvidia/cu13/lib/libnvJitLink.so.13", "gpu/cuda/libnvJitLink.so.13", "0ba4a7e2c0819291ce928513755f4931dd69c77c63fb77677d14dc1360f28601", 117247464},
				{"nvidia_nvjitlink-13.5.37.dist-info/licenses/License.txt", "gpu/cuda/LICENSE-nvidia-nvjitlink.txt", "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd", 59262},
			},
		},
		{
			Package: "onnxruntime-gpu", Version: ONNXRuntime, Platform: "manylinux_2_28_x86_64", Size: 255560985,
			SHA256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
			Members: []Member{
				{"onnxruntime/LICENSE", "gpu/LICENSE", "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c", 1073},
				{"onnxruntime/ThirdPartyNotices.txt", "gpu/ThirdPartyNotices.txt", "143764b952fdb1a7c69ce653bfba74a7744d6a8a573bfb73e235fba356c83de3", 338088},
				{"onnxruntime/capi/libonnxruntime.so." + ONNXRuntime, "gpu/libonnxruntime.so." + ONNXRuntime, "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303", 29421832},
				{"onnxruntime/capi/libonnxruntime_providers_cuda.so", "gpu/libonnxruntime_providers_cuda.so", "d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137", 284014752},
				{"onnxruntime/capi/libonnxruntime_providers_shared.so", "gpu/libonnxruntime_providers_shared.so", "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d", 14632},
			},
		},
	}, nil
}
