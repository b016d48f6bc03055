package client

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

var kept []net.Conn

// Longer than the grace time, after whatever leaked.
const pause = 600 * time.Millisecond

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// Hangs up at once.
func server(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		connection, _ := listener.Accept()
		connection.Close()
		listener.Close()
	}()
	return listener.Addr().String()
}

func TestLeakSocket(t *testing.T) {
	connection, err := net.Dial("tcp", server(t)) // LEAK
	if err != nil {
		t.Fatal(err)
	}
	kept = append(kept, connection)
	time.Sleep(pause)
}

func TestLeakBody(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(hello))
	if _, err := http.Get(service.URL); err != nil {
		t.Fatal(err)
	}
	service.Close()
	time.Sleep(pause)
}

func TestCloses(t *testing.T) {
	connection, err := net.Dial("tcp", server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	time.Sleep(pause)
}

func TestKeepsAlive(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(hello))
	for range [4]int{} {
		response, err := http.Get(service.URL)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		time.Sleep(pause / 2)
	}
}
