package main

import (
	"log"
	"net"
	"time"

	"lab/go/lab"
)

func main() {
	for range lab.Pace() {
		if err := work(); err != nil {
			log.Print(err)
		}
	}
}

func work() error {
	conn, err := net.Dial("tcp", lab.Addr()) // opened here
	if err != nil {
		return err
	}
	// Meant as a safety net; it is the only close there is.
	time.AfterFunc(time.Hour, func() { conn.Close() })
	for asked := 0; asked < 3; asked++ {
		if err := lab.Ask(conn); err != nil {
			return err
		}
	}
	return nil
}
