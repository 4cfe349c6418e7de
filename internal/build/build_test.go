package build

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOf(t *testing.T) {
	t.Parallel()
	const commit = "0881207b5c9a44f0b2f3c1d5e6f708192a3b4c5d"
	for name, tc := range map[string]struct {
		version  string
		settings []debug.BuildSetting
		want     Info
	}{
		"not stamped":             {"", nil, Info{Version: "devel"}},
		"without version control": {"(devel)", nil, Info{Version: "devel"}},
		"a release":               {"v1.2.3", nil, Info{Version: "v1.2.3"}},
		"a changed working tree": {
			"v0.0.0-20261130004015-0881207b5c9a+dirty",
			[]debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "true"}},
			Info{Version: "v0.0.0-20261130004015-0881207b5c9a+dirty", Revision: commit[:12], Modified: true},
		},
		"a short revision": {"", []debug.BuildSetting{{Key: "vcs.revision", Value: "12"}}, Info{Version: "devel", Revision: "12"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.want.Go, tc.want.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
			got := of(&debug.BuildInfo{Main: debug.Module{Version: tc.version}, Settings: tc.settings})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
