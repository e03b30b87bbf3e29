package main

import (
	"errors"
	"io"
	"net/http"
)

// ServerConn is the server's end of a connection. It ends when the handler returns: net/http has
// no other way to send END_STREAM. A handler that panics with http.ErrAbortHandler resets it.
type ServerConn struct {
	body    io.Reader
	writer  io.Writer
	flusher http.Flusher
}

// Accept answers a request at once, because the client waits for the status.
func Accept(w http.ResponseWriter, r *http.Request, status int) (*ServerConn, error) {
	flusher, ok := w.(http.Flusher)
	if !ok || r.ProtoMajor != 2 {
		return nil, errors.New("a connection takes HTTP/2, not " + r.Proto)
	}
	w.WriteHeader(status)
	flusher.Flush()
	return &ServerConn{r.Body, w, flusher}, nil
}

// Read returns io.EOF only after the client's END_STREAM.
func (c *ServerConn) Read(bytes []byte) (int, error) { return c.body.Read(bytes) }

// Write sends the bytes at once: without the flush net/http would collect them.
func (c *ServerConn) Write(bytes []byte) (int, error) {
	n, err := c.writer.Write(bytes)
	c.flusher.Flush()
	return n, err
}

// Close does nothing; see ServerConn.
func (c *ServerConn) Close() error { return nil }
