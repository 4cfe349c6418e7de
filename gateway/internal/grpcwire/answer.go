package grpcwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// Answer is a function's answer, of one message. A small one is there whole; a large one
// comes while it is sent.
type Answer struct {
	of      *Exchange
	res     *http.Response
	length  int64
	message Message // nil where it still comes
	began   time.Time
}

// Answer begins to read the answer of a function, of at most most bytes, which takes the
// place of the exchange's message. Whoever has it closes it.
//
// An error that the function's status says is a *connect.Error of the wire
// (connect.IsWireError); any other is of an answer that is not whole, or not gRPC.
func (x *Exchange) Answer(res *http.Response, most int64) (*Answer, error) {
	x.drop()
	res.Request = nil // it has the message
	a := &Answer{of: x, res: res, began: time.Now()}
	err := a.open(most)
	if err == nil && a.length <= firstPiece {
		err = a.read()
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Length is that of the answer's message, in bytes.
func (a *Answer) Length() int64 { return a.length }

// Close ends the answer.
func (a *Answer) Close() { _ = a.res.Body.Close() }

// open reads what precedes the message.
func (a *Answer) open(most int64) error {
	switch {
	case a.res.StatusCode != http.StatusOK:
		return problem.New(problem.BadGateway, "the function answered with HTTP status %d; expected a gRPC answer", a.res.StatusCode)
	case !media.IsGRPC(a.res.Header):
		return problem.New(problem.BadGateway, "the function answered with another content type; expected a gRPC answer")
	}
	if e, ok := problemgrpc.Status(a.res.Header); ok && e != nil {
		return e
	}
	head, err := readHead(a.res.Body)
	switch {
	case errors.Is(err, errEnd):
		if err := a.status(); err != nil {
			return err
		}
		return errors.New("expected one message, got none")
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case head[0] != 0:
		return errors.New("expected an answer that is not compressed")
	case head.length() > most:
		return problem.New(problem.PayloadTooLarge, "the answer has %d bytes; at most %d can be handed on", head.length(), most)
	}
	a.length = head.length()
	return nil
}

// status is the one behind the message, or behind none.
func (a *Answer) status() error {
	switch e, ok := problemgrpc.Status(a.res.Trailer); {
	case !ok:
		return errors.New("the answer ended without a status")
	case e != nil:
		return e
	}
	return nil
}

// finish reads what is behind the message.
func (a *Answer) finish() error {
	switch n, err := a.res.Body.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("expected one message, got more")
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("read the answer: %w", err)
	}
	return a.status()
}

// read reads the message whole.
func (a *Answer) read() error {
	message := make(Message, a.length)
	if _, err := io.ReadFull(a.res.Body, message); err != nil {
		return a.notRead(err)
	}
	if err := a.finish(); err != nil {
		return err
	}
	a.message = message
	a.Close() // its function is done
	return nil
}

// Hold reads the answer before it is its turn to be sent, where there is room for it, so
// that its function is not kept waiting. It returns when that is done, or the turn has
// come.
func (a *Answer) Hold(ctx context.Context) error {
	if a.message != nil {
		return nil
	}
	select {
	case <-a.of.before:
		return nil
	default:
	}
	err := a.of.take(ctx, room.Early, a.length, wait{until: a.of.before})
	if err == nil {
		return a.read()
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// pieceLen is how much of an answer is sent at a time, in bytes.
const pieceLen = 64 << 10

// answerRoom is what an answer takes, in bytes, that passes: the piece that is sent, and
// what a transport has received and nobody has read.
const answerRoom = pieceLen + 256<<10

// Send sends the answer as a message of the call, behind prefix. begun is whether
// something of it was sent, so that the call cannot go on after an error.
func (a *Answer) Send(ctx context.Context, prefix []byte) (begun bool, err error) {
	if a.message != nil {
		return true, a.of.stream.Send(prefix, a.message)
	}
	if err := a.of.take(ctx, room.Passing, min(a.length, answerRoom), wait{}); err != nil {
		return false, err
	}
	defer a.of.shrink(0)
	return a.pass(prefix)
}

// pass sends the answer while it comes.
func (a *Answer) pass(prefix []byte) (begun bool, err error) {
	s := a.of.stream
	piece := make([]byte, pieceLen)
	left := a.length
	for left > 0 {
		n, err := io.ReadFull(a.res.Body, piece[:min(left, pieceLen)])
		if err != nil {
			return begun, a.notRead(err)
		}
		if !begun {
			begun = true
			err = s.write(header(len(prefix)+int(a.length)), prefix)
		}
		if err == nil {
			err = s.write(piece[:n])
		}
		if err != nil {
			return true, err
		}
		left -= int64(n)
	}
	return true, a.finish()
}

// functionsPatience is how long any function waits for its answer to be read.
const functionsPatience = time.Second

// notRead is the error of an answer that broke off. Its function may give up one that
// had to wait for its turn.
func (a *Answer) notRead(err error) error {
	if time.Since(a.began) > functionsPatience && !connect.IsWireError(err) {
		return problem.New(problem.Overloaded,
			"the answer had to wait for others until the function gave it up; call again: %w", problem.ForLog(err)).WithRetryAfter(time.Second)
	}
	return fmt.Errorf("read the answer: %w", err)
}
