package v2

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/problem"
)

// TestAnAddressIsBounded holds that of what says where a message goes no more is copied
// than names have.
func TestAnAddressIsBounded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		field protowire.Number
		size  int
		kept  int // bytes
		code  problem.Code
	}{
		"a name":         {fieldName, mostAddress, mostAddress, ""},
		"a long name":    {fieldName, mostAddress + 1, 0, problem.InvalidArgument},
		"a version":      {fieldVersion, mostAddress, mostAddress, ""},
		"a long version": {fieldVersion, mostAddress + 1, 0, problem.InvalidArgument},
		"an id":          {fieldID, mostAddress, mostAddress, ""},
		"a long id":      {fieldID, mostAddress + 1, 0, ""},
		"parameters":     {fieldParameters, mostAddress + 1, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := protowire.AppendTag(nil, tc.field, protowire.BytesType)
			a, err := addressOf(protowire.AppendString(message, strings.Repeat("x", tc.size)))
			if kept := len(a.name + a.version + a.id); kept != tc.kept || problem.CodeOf(err) != tc.code {
				t.Errorf("%d bytes are kept, %v", kept, err)
			}
		})
	}
}
