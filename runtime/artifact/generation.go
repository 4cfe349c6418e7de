package artifact

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/modelserveai/modelserve/problem"
)

// generationKey is the object that changes whenever something was published,
// deleted, or given to another version. Its last part is no model's name, so
// that stores with folders have room for a model called generation.
const generationKey = modelsPrefix + "_generation"

// damagedGeneration is that of a store whose notice cannot be read: no ETag.
const damagedGeneration = "damaged"

// announceTime bounds the notice of a change that is already made.
const announceTime = 10 * time.Second

// Generation asks whether anything changed since a generation that it returned
// before; "" is none. It is one conditional GET: as long as nothing changed,
// it returns since. A reader that lists again when it moves, and every minute
// anyhow (a publisher may have died before its notice), sees every change.
func (s *Store) Generation(ctx context.Context, since string) (string, error) {
	key := generationKey
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if since != "" {
		in.IfNoneMatch = &since
	}
	out, err := s.client.GetObject(ctx, in)
	if err == nil {
		_ = out.Body.Close() // a few bytes without meaning
		return aws.ToString(out.ETag), nil
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotModified {
		return since, nil
	}
	switch err = s.explain(err); {
	case errors.Is(err, errMissing):
		return "", nil // nobody has published here yet
	case errors.Is(err, errDamaged):
		return damagedGeneration, nil // until the next notice
	}
	return "", problem.New(problem.Unavailable, "ask whether models changed: %w", err)
}

// announce notifies readers of a change that was just made. A notice that fails
// undoes nothing and is no error: it costs readers the rest of the minute after
// which they look by themselves. It goes out even when ctx has ended meanwhile.
func (s *Store) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceTime)
	defer cancel()
	_ = s.put(ctx, generationKey, strings.NewReader(rand.Text()+"\n"), condition{})
}
