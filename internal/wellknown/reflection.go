package wellknown

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// newReflection makes the handlers of server reflection, of its two versions, for
// services of these names.
func newReflection(names []string, options []connect.HandlerOption) (v1, alpha http.Handler) {
	own, err := ownFiles()
	if err != nil {
		panic(err) // a descriptor is wrong, which any test finds
	}
	files := resolver{own}
	reflector := grpcreflect.NewReflector(grpcreflect.NamerFunc(func() []string { return names }),
		grpcreflect.WithDescriptorResolver(files), grpcreflect.WithExtensionResolver(files))
	options = append(slices.Clone(options), connect.WithInterceptors(explain{}))
	_, v1 = grpcreflect.NewHandlerV1(reflector, options...)
	_, alpha = grpcreflect.NewHandlerV1Alpha(reflector, options...)
	return v1, alpha
}

// resolver finds the descriptors of this package's protocols, and every one that the
// process has linked. Its errors reach the client as they are.
type resolver struct{ own *protoregistry.Files }

// FindFileByPath implements protodesc.Resolver.
func (r resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	for _, files := range []*protoregistry.Files{r.own, protoregistry.GlobalFiles} {
		if file, err := files.FindFileByPath(path); err == nil {
			return file, nil
		}
	}
	return nil, fmt.Errorf("there is no file %s", quote(path))
}

// FindDescriptorByName implements protodesc.Resolver.
func (r resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	for _, files := range []*protoregistry.Files{r.own, protoregistry.GlobalFiles} {
		if found, err := files.FindDescriptorByName(name); err == nil {
			return found, nil
		}
	}
	return nil, fmt.Errorf("there is no symbol %s", quote(string(name)))
}

// FindExtensionByName implements grpcreflect.ExtensionResolver.
func (resolver) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	if found, err := protoregistry.GlobalTypes.FindExtensionByName(name); err == nil {
		return found, nil
	}
	return nil, fmt.Errorf("there is no extension %s", quote(string(name)))
}

// FindExtensionByNumber implements grpcreflect.ExtensionResolver.
func (resolver) FindExtensionByNumber(of protoreflect.FullName, n protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	if found, err := protoregistry.GlobalTypes.FindExtensionByNumber(of, n); err == nil {
		return found, nil
	}
	return nil, fmt.Errorf("there is no extension %d of %s", n, quote(string(of)))
}

// RangeExtensionsByMessage implements grpcreflect.ExtensionResolver.
func (resolver) RangeExtensionsByMessage(of protoreflect.FullName, each func(protoreflect.ExtensionType) bool) {
	protoregistry.GlobalTypes.RangeExtensionsByMessage(of, each)
}

// quote quotes what a client sent, cut to what a line has room for.
func quote(s string) string { return strconv.Quote(s[:min(len(s), 80)]) }

// explain replaces the reflector's error of a request that asks nothing by ours.
type explain struct{}

// WrapUnary implements connect.Interceptor.
func (explain) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient implements connect.Interceptor.
func (explain) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (explain) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		var known *connect.Error
		if errors.As(err, &known) && strings.HasPrefix(known.Message(), "invalid MessageRequest") {
			return problemgrpc.Error(problem.Invalid("message_request", "expected one of file_by_filename, "+
				"file_containing_symbol, file_containing_extension, all_extension_numbers_of_type and list_services"))
		}
		return err
	}
}
