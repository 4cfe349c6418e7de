package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Sizes of what is sent, in bytes, and asked for, in elements of four.
const (
	largeBody    = 32 << 20 // the largest there is
	largeMessage = 31 << 20
	largeJSON    = 24 << 20
	wideElements = 60 << 20
)

// The models that attacks call besides the tiny one.
const wideModel, slowModel = "wide", "slow"

// The slow model's width, and its steps: a run of some 50 ms.
const slowWidth, slowSteps = 256, 300

func wideInput(elements int64) []infer.Tensor {
	return []infer.Tensor{infer.NewTensor("shape", []int64{1}, []int64{elements})}
}

func slowInput() []infer.Tensor {
	return []infer.Tensor{infer.NewTensor("x", []int64{slowWidth, slowWidth}, make([]float32, slowWidth*slowWidth))}
}

// frameHead begins a message of so many bytes.
func frameHead(compressed bool, size int) []byte {
	head := make([]byte, 5)
	if compressed {
		head[0] = 1
	}
	binary.BigEndian.PutUint32(head[1:], uint32(size))
	return head
}

func compressedFrame(message []byte) ([]byte, error) {
	body, err := compressed(message)
	return append(frameHead(true, len(body)), body...), err
}

func compressed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// field appends a field of bytes.
func field(b []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
}

// repeated is a ModelInferRequest whose field of that number is there as often as
// fits, each time empty: two bytes that are decoded into some seventy.
func repeated(number protowire.Number) func() []byte {
	return func() []byte {
		head := field(nil, 1, []byte(tinyModel))
		unit := field(nil, number, nil)
		return append(head, bytes.Repeat(unit, (largeMessage-len(head))/len(unit))...)
	}
}

// tensorRequest is a ModelInferRequest of one tensor of one element or more.
func tensorRequest(model, name string, datatype infer.DataType, raw []byte) []byte {
	tensor := field(field(nil, 1, []byte(name)), 2, []byte(datatype))
	tensor = field(tensor, 3, []byte{1}) // its shape
	return field(field(field(nil, 1, []byte(model)), 5, tensor), 7, raw)
}

// zeroTensor is a request that is large, and next to nothing compressed.
func zeroTensor() []byte {
	return tensorRequest(tinyModel, "x", infer.Uint8, make([]byte, largeMessage))
}

// wideRequest asks for an answer of so many elements.
func wideRequest(elements uint64) func() []byte {
	return func() []byte {
		return tensorRequest(wideModel, "shape", infer.Int64, binary.LittleEndian.AppendUint64(nil, elements))
	}
}

// json sends a large body in JSON, which is small compressed.
func (a *attack) json(head, tail string, fill func(*strings.Builder)) (kind, error) {
	var b strings.Builder
	b.WriteString(head)
	fill(&b)
	b.WriteString(tail)
	body, err := compressed([]byte(b.String()))
	return a.post("/v2/models/"+tinyModel+"/infer", body, "Content-Type", "application/json", "Content-Encoding", "gzip"), err
}

// names are members of an object, of five letters each and all different.
func names(b *strings.Builder) {
	for i := range largeJSON / 10 {
		if i > 0 {
			b.WriteByte(',')
		}
		text := strconv.FormatInt(int64(i)+36*36*36*36, 36)
		b.WriteString(`"` + text + `":1`)
	}
}

const manyTexts = largeJSON / 3

func textsHead() string {
	return fmt.Sprintf(`{"inputs":[{"name":"x","datatype":"BYTES","shape":[%d],"data":[`, manyTexts)
}

// texts are empty ones.
func texts(b *strings.Builder) {
	b.WriteString(strings.Repeat(`"",`, manyTexts-1) + `""`)
}

// groups sends a picture of few pixels with 2,600 groups of Huffman trees.
func (a *attack) groups() (kind, error) {
	picture, err := os.ReadFile("codec/imaging/testdata/groups.webp.gz")
	if err != nil {
		return nil, err
	}
	return a.post("/", picture, "Host", pictureHost(a.Address), "Content-Type", "image/webp", "Content-Encoding", "gzip"), nil
}

// pictureModel is the model of the function that takes pictures.
const pictureModel = "text-orient"

// pictureHost is that function's, at a platform's address.
func pictureHost(address string) string {
	_, port, _ := strings.Cut(address, ":")
	return pictureModel + ".default.localhost:" + port
}

// slowRuns calls a slow model.
func (a *attack) slowRuns() (kind, error) {
	encoded, err := infer.EncodeRequest(&infer.Request{Inputs: slowInput(), BinaryOutput: true}, func(*infer.Tensor) bool { return true })
	if err != nil {
		return nil, err
	}
	return a.post("/v2/models/"+slowModel+"/infer", encoded.Bytes(),
		"Content-Type", encoded.ContentType(), "Inference-Header-Content-Length", strconv.Itoa(encoded.HeaderLength())), nil
}
