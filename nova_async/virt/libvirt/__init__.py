"""Guests on QEMU/KVM, through libvirt."""
