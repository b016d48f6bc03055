package main

import (
	"io"
	"log"
	"net"

	"lab/go/lab"
)

func main() {
	for range lab.Pace() {
		go submit()
	}
}

// submit says that it is done asking, and waits for the answer, as `nc -N` does.
func submit() {
	conn, err := net.Dial("tcp", lab.Addr()) // opened here
	lab.Must(err)
	defer conn.Close()
	if _, err := io.WriteString(conn, lab.Request); err != nil {
		log.Print(err)
		return
	}
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
}
