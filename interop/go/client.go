package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
)

// ClientConn is the client's end of a connection.
type ClientConn struct {
	response *http.Response
	body     *io.PipeWriter
	sent     chan struct{}
}

// Dial opens a connection with these header fields. The caller must check the response's status:
// only 2xx accepts.
func Dial(ctx context.Context, client *http.Client, url string, header http.Header) (*ClientConn, *http.Response, error) {
	reader, writer := io.Pipe()
	sent := make(chan struct{})
	var once sync.Once
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { once.Do(func() { close(sent) }) },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, reader)
	if err != nil {
		return nil, nil, err
	}
	request.Header = header.Clone()
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	return &ClientConn{response, writer, sent}, response, nil
}

// Read returns io.EOF only after the server's END_STREAM.
func (c *ClientConn) Read(bytes []byte) (int, error) { return c.response.Body.Read(bytes) }

// Write returns when the transport has taken the bytes; they are sent without any further call.
func (c *ClientConn) Write(bytes []byte) (int, error) { return c.body.Write(bytes) }

// Close ends this direction and waits until END_STREAM is handed to the system. Reading goes on.
// The server's end shows that it has read ours.
func (c *ClientConn) Close() error {
	err := c.body.Close()
	<-c.sent
	return err
}

// Abort resets the stream: the server reads an error, not the end.
func (c *ClientConn) Abort() error { return c.response.Body.Close() }
