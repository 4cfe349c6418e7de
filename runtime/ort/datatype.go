package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// elementOf is ONNX Runtime's number for a data type; 0 for what is none.
func elementOf(d infer.DataType) C.int {
	switch d {
	case infer.Bool:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL
	case infer.Uint8:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
	case infer.Uint16:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16
	case infer.Uint32:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32
	case infer.Uint64:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64
	case infer.Int8:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8
	case infer.Int16:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16
	case infer.Int32:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32
	case infer.Int64:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
	case infer.FP16:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
	case infer.BF16:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16
	case infer.FP32:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
	case infer.FP64:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE
	case infer.Bytes:
		return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING
	}
	return C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED
}

// dataTypeOf is the protocol's data type of an element type; the protocol has
// none for complex numbers and for the 8, 4 and 2 bit floats and integers.
func dataTypeOf(element C.int) (infer.DataType, error) {
	switch element {
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
		return infer.Bool, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
		return infer.Uint8, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
		return infer.Uint16, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
		return infer.Uint32, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
		return infer.Uint64, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
		return infer.Int8, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
		return infer.Int16, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
		return infer.Int32, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
		return infer.Int64, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
		return infer.FP16, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
		return infer.BF16, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
		return infer.FP32, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
		return infer.FP64, nil
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING:
		return infer.Bytes, nil
	}
	return "", fmt.Errorf("element type %s has no data type in the Open Inference Protocol", elementName(element))
}

func elementName(element C.int) string {
	switch element {
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64:
		return "complex64"
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128:
		return "complex128"
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN, C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
		C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2, C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
		C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0:
		return "float8"
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4, C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4:
		return "int4"
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1:
		return "float4"
	case C.ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2, C.ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2:
		return "int2"
	}
	return fmt.Sprintf("number %d", int(element))
}

// kindName is what ONNX calls a value that is no tensor.
func kindName(kind C.int) string {
	switch kind {
	case C.ONNX_TYPE_SEQUENCE:
		return "a sequence"
	case C.ONNX_TYPE_MAP:
		return "a map"
	case C.ONNX_TYPE_OPTIONAL:
		return "an optional"
	case C.ONNX_TYPE_SPARSETENSOR:
		return "a sparse tensor"
	case C.ONNX_TYPE_OPAQUE:
		return "opaque"
	}
	return fmt.Sprintf("a value of kind %d", int(kind))
}
