"""What mail is: values and text formats, from the standard library only, without input or output."""
