package wellknown

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// ownFiles are the descriptors of the protocols that this package answers.
func ownFiles() (*protoregistry.Files, error) {
	own := new(protoregistry.Files)
	v1, err := reflectionFile("v1")
	if err != nil {
		return nil, err
	}
	alpha, err := reflectionFile("v1alpha")
	if err != nil {
		return nil, err
	}
	for _, descriptor := range []*descriptorpb.FileDescriptorProto{healthFile(), v1, alpha} {
		file, err := protodesc.NewFile(descriptor, own)
		if err == nil {
			err = own.RegisterFile(file)
		}
		if err != nil {
			return nil, fmt.Errorf("register %s: %w", descriptor.GetName(), err)
		}
	}
	return own, nil
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

// reflectionFile is grpc/reflection/VERSION/reflection.proto, whose versions differ
// in their package alone. The library links it under a package of its own.
func reflectionFile(version string) (*descriptorpb.FileDescriptorProto, error) {
	const linked = "connectext.grpc.reflection.v1"
	path := func(name string) string { return strings.ReplaceAll(name, ".", "/") + "/reflection.proto" }
	found, err := protoregistry.GlobalFiles.FindFileByPath(path(linked))
	if err != nil {
		return nil, fmt.Errorf("find the descriptor of reflection: %w", err)
	}
	name := "grpc.reflection." + version
	file := protodesc.ToFileDescriptorProto(found)
	file.Name, file.Package, file.Options = proto.String(path(name)), proto.String(name), nil
	rename := func(of *string) *string {
		if of == nil {
			return nil
		}
		return proto.String(strings.Replace(*of, "."+linked+".", "."+name+".", 1))
	}
	for _, message := range file.GetMessageType() {
		for _, field := range message.GetField() {
			field.TypeName = rename(field.TypeName)
		}
	}
	for _, service := range file.GetService() {
		for _, method := range service.GetMethod() {
			method.InputType, method.OutputType = rename(method.InputType), rename(method.OutputType)
		}
	}
	return file, nil
}
