package wellknown

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// newResolver finds the descriptors of the health protocol, and every one that
// this process has linked.
func newResolver() protodesc.Resolver {
	own := new(protoregistry.Files)
	file, err := protodesc.NewFile(healthFile(), own)
	if err == nil {
		err = own.RegisterFile(file)
	}
	if err != nil {
		panic(err) // the descriptor below is wrong, which any test finds
	}
	return resolver{own}
}

type resolver struct{ own *protoregistry.Files }

// FindFileByPath implements protodesc.Resolver.
func (r resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if file, err := r.own.FindFileByPath(path); err == nil {
		return file, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path) //nolint:wrapcheck // protoregistry.NotFound is compared
}

// FindDescriptorByName implements protodesc.Resolver.
func (r resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if found, err := r.own.FindDescriptorByName(name); err == nil {
		return found, nil
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name) //nolint:wrapcheck // protoregistry.NotFound is compared
}

// healthFile is grpc/health/v1/health.proto.
func healthFile() *descriptorpb.FileDescriptorProto {
	const request, response = "HealthCheckRequest", "HealthCheckResponse"
	optional := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
	full := func(name string) *string { return proto.String(".grpc.health.v1." + name) }
	statuses := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	values := make([]*descriptorpb.EnumValueDescriptorProto, len(statuses))
	for i, name := range statuses {
		values[i] = &descriptorpb.EnumValueDescriptorProto{Name: &name, Number: proto.Int32(int32(i))}
	}
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("grpc/health/v1/health.proto"), Package: proto.String("grpc.health.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String(request), Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("service"), JsonName: proto.String("service"), Number: proto.Int32(1), Label: optional,
				Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			}}},
			{
				Name: proto.String(response),
				Field: []*descriptorpb.FieldDescriptorProto{{
					Name: proto.String("status"), JsonName: proto.String("status"), Number: proto.Int32(1), Label: optional,
					Type: descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), TypeName: full(response + ".ServingStatus"),
				}},
				EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("ServingStatus"), Value: values}},
			},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Health"),
			Method: []*descriptorpb.MethodDescriptorProto{
				{Name: proto.String("Check"), InputType: full(request), OutputType: full(response)},
				{Name: proto.String("Watch"), InputType: full(request), OutputType: full(response), ServerStreaming: proto.Bool(true)},
			},
		}},
	}
}
