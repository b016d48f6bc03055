package main

import (
	"bufio"
	"fmt"
	"io"
	"net"

	"lab/go/lab"
)

// sessions is where conversations are registered, and never taken from.
var sessions = map[string]net.Conn{}

func main() {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", lab.Port()))
	lab.Must(err)
	serve(listener)
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept() // opened here
		lab.Must(err)
		sessions[conn.RemoteAddr().String()] = conn
		go handle(conn)
	}
}

func handle(conn net.Conn) {
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return // Without a close.
		}
		if line == "\r\n" {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}
