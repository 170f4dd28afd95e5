//! Examples in the checkpoint of a scan.

use candle_core::{Device, Tensor};

use super::collect::LayerExamples;
use super::list::{ExampleList, ExamplePeak};
use crate::multilayer::checkpoint::{ScanState, ScanTensors};
use crate::{Error, Result};

/// Examples are counted and laid out by list: so many of each, then their peaks, then their windows.
impl ScanState for LayerExamples {
    fn tensors(&mut self) -> Result<ScanTensors> {
        let lists = self.lists_mut()?;
        let (mut counts, mut bytes) = (Vec::new(), Vec::new());
        let (mut activations, mut contexts, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        let mut windows = Vec::new();
        for list in lists.iter() {
            counts.push(list.len() as i64);
            bytes.push(list.window_bytes().len() as i64);
            activations.extend(list.peaks().iter().map(|peak| peak.activation));
            contexts.extend(list.peaks().iter().map(|peak| peak.context));
            positions.extend(list.peaks().iter().map(|peak| peak.position));
            windows.extend_from_slice(list.window_bytes());
        }
        let of = |values: Result<Tensor, candle_core::Error>| Ok::<_, Error>(values?);
        Ok(vec![
            ("counts", of(Tensor::new(counts, &Device::Cpu))?),
            ("bytes", of(Tensor::new(bytes, &Device::Cpu))?),
            ("activations", of(Tensor::new(activations, &Device::Cpu))?),
            ("contexts", of(Tensor::new(contexts, &Device::Cpu))?),
            ("positions", of(Tensor::new(positions, &Device::Cpu))?),
            ("windows", of(Tensor::new(windows, &Device::Cpu))?),
        ])
    }

    fn restore(&mut self, mut take: impl FnMut(&str) -> Result<Tensor>) -> Result<bool> {
        let [counts, bytes] = [take("counts")?.to_vec1::<i64>()?, take("bytes")?.to_vec1::<i64>()?];
        let activations: Vec<f32> = take("activations")?.to_vec1()?;
        let contexts: Vec<u32> = take("contexts")?.to_vec1()?;
        let positions: Vec<u32> = take("positions")?.to_vec1()?;
        let windows: Vec<u8> = take("windows")?.to_vec1()?;
        let most = self.options().examples;
        let lists = self.lists_mut()?;
        if counts.len() != lists.len() || bytes.len() != lists.len() {
            return Ok(false);
        }
        let mut peaks = activations.into_iter().zip(contexts).zip(positions);
        let mut rest = &windows[..];
        for ((list, count), bytes) in lists.iter_mut().zip(counts).zip(bytes) {
            let (count, bytes) = (count.max(0) as usize, bytes.max(0) as usize);
            let own: Vec<ExamplePeak> = peaks
                .by_ref()
                .take(count)
                .map(|((activation, context), position)| ExamplePeak {
                    activation,
                    context,
                    position,
                })
                .collect();
            let Some((windows, others)) = rest.split_at_checked(bytes) else { return Ok(false) };
            rest = others;
            let Some(found) = ExampleList::of_parts(own, windows.to_vec()) else {
                return Ok(false);
            };
            if found.len() != count || count > most {
                return Ok(false);
            }
            *list = found;
        }
        Ok(peaks.next().is_none() && rest.is_empty())
    }
}
